"""What is asked most, by one statement for many requests at once."""
