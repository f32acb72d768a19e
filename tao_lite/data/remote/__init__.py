"""Data sets at URLs: what stands here for one, and its shards on this machine's disk."""
