"""What the README claims, measured: each bench_*.py has a main() that prints its figures and targets."""
