"""What happened, on disk before anybody hears of it, and what it adds up to."""
