"""``python -m bsa_st``: the command line, for launchers as ``torchrun -m bsa_st distill``."""

from bsa_st.cli.main import main

main()
