"""Commands on data sets: check, stats, report, convert."""
