"""Build a training dataset from raw videos: measure everything once, then select.

Reading order:

1. `sources`     input: a folder, a table (`table_sources`) or WebDataset shards (`shard_sources`),
                 as a list of `source_video.SourceVideo`; their captions in `caption_text`
2. `measure`     one video -> its clips, each with measured columns; `stages` holds the stages:
                 `clipping` with `transitions`, `camera_motion`, `overlays`, `duplicates`, over
                 area-averaged `frames`
3. `captions`    caption -> corrected caption
4. `selection`   rules over the columns, with `copies`, what repeats: the only place that decides
                 which clips are kept; `explain` answers questions about it
5. `table`, `shards`, `report`   output: the manifest, WebDataset shards and an HTML report
6. `pipeline`    all steps in order, resumable through `hummingbird_core.engines.journal`, on an
                 engine such as `hummingbird_core.engines.local`

Stages are pure functions of arrays and numbers, independent of the engine that runs them. The
public names are those of the modules: `pipeline.curate`, `pipeline.reselect`,
`measure.MeasureConfig`, `selection.SelectionConfig`, `captions.CaptionConfig` and
`sources.list_sources`.
"""
