# make demo PROMPT="a red circle moves right"   a video, a contact sheet, the settings
# make test                                     tests, style and types
# On Windows: see "Without make" in README.md.

PYTHON ?= python3
PROMPT ?= a red circle moves right
BIN := .venv/bin

.PHONY: demo test clean

demo:
	$(PYTHON) tools/setup_env.py
	$(BIN)/hummingbird generate "$$PROMPT" -o outputs/demo.mp4 --contact-sheet --json --overwrite

test:
	$(PYTHON) tools/setup_env.py --extra dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests
	$(PYTHON) tools/setup_comfyui.py
	.comfyui/venv/bin/python -m pytest -n 0 tests/comfy
	.comfyui/venv/bin/python -m pytest -n 0 tests/browser

clean:
	rm -rf .venv outputs

# The prompt goes through the environment, as it is: quotes and dollars in it mean nothing here.
override PROMPT := $(value PROMPT)
export PROMPT
demo: export HF_HUB_OFFLINE = 1
