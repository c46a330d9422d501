"""The log examined from outside: verified, exported, signed, proved. Nothing here writes to the database."""
