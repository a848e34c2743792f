"""When chores happen: their schedule, the ledger of their runs, their locks, and thin bodies."""
