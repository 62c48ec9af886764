"""What a run is and how it goes on: its stages, its settings, its weights, where it stopped."""
