"""What a person reads in the morning: `summary` gathers it in the workers, `page` turns it into one HTML file."""
