"""Data sets behind URLs: which files a folder here stands for, and their shards on this machine's disk."""
