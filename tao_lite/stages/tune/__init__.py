"""A search for better values of fields: trials that pause in their schedule, and go on if they are promising."""
