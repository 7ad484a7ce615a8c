"""Plans of many runs that survive a crash."""
