"""What the tests and benches share: recorded answers and servers that give them."""
