"""Files that people give: text, JSON, tables, archives and folders, read with care."""
