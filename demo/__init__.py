"""The demonstration: find the concept of the Human Phenotype Ontology that a synonym names."""
