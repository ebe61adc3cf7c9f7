"""Agreement of videos and texts: models that put both into one space, behind one interface."""
