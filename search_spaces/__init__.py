"""Study files people copy."""
