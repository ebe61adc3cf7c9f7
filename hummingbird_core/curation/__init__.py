"""From a pile of videos to training shards: measure everything once, then select.

Read in this order:

1. `sources`     what goes in: a folder, a CSV, a parquet file, WebDataset shards
2. `measuring`   one video -> its clips, each with measured columns (`stages`, `segments`, `camera`,
                 `overlays`, `duplicates` hold the single stages)
3. `captions`    caption -> rewritten caption
4. `selection`   the only place that says what is kept, from the columns and a small config
5. `shards`, `report`   what goes out
6. `pipeline`    all of it in order, resumable through `hummingbird_core.engines.journal`, on one of
                 `hummingbird_core.engines.local`

Stages are plain functions of plain data. None of them knows which engine runs it.
"""
