"""Parts of `machine_here.py`: the networks, and their measured steps."""
