"""`hummingbird evaluate KIND`: one module for each kind of evaluation."""
