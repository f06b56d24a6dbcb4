"""`distvae sweep`: several runs that differ in some settings, and which is best."""
