"""How a model travels: folders on disk and models on the Hub."""
