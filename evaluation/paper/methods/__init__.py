"""What the page measures: heads, CSR and the strengths of other objectives, each with several scorings, beside three baselines."""
