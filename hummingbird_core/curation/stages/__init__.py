"""Single stages of measuring: plain functions of frames."""
