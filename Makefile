# make demo PROMPT="a red circle moves right"   a video, a contact sheet, the settings
# make test                                     tests, style and types
# make test-comfyui COMFYUI=CLONE               tests of the nodes on another release of ComfyUI
# On Windows: see "Without make" in README.md.

PYTHON ?= python3
PROMPT ?= a red circle moves right
BIN := .venv/bin
OTHER := $(CURDIR)/.comfyui-other

.PHONY: demo test test-comfyui clean

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

test-comfyui:
	$(PYTHON) tools/setup_comfyui.py --source "$(COMFYUI)" --target "$(OTHER)"
	COMFYUI_PATH="$(COMFYUI)" "$(OTHER)/venv/bin/python" -m pytest -n 0 tests/comfy

clean:
	rm -rf .venv .comfyui-other outputs

# The prompt goes through the environment, as it is: quotes and dollars in it mean nothing here.
override PROMPT := $(value PROMPT)
export PROMPT
demo: export HF_HUB_OFFLINE = 1
