"""What every benchmark shares: timing by turns, spreads, bars, machine, the last line of JSON."""
