"""How well features can be read: names that say when they fire, and matches explained by them."""
