"""TAO's other spec families: which one a file is of, and what becomes of its fields."""
