"""How well single features can be read: probing, stability between seeds, labels that predict firing."""
