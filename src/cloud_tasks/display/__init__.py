"""What a person at the console sees."""
