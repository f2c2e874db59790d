"""What a network consists of, seen in one pass: its layers, how they lie, and what each is for."""
