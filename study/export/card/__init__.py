"""What a bundle says of itself: its card, its metrics with intervals, and the study file that makes it again."""
