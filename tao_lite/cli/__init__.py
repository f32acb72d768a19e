"""Arguments to spec to stage; exit codes. Nothing here computes."""
