"""`hummingbird train KIND`: one module for each kind of training."""
