"""How many nodes of which pool a region needs: demand, forecast, mix, and what to do about it."""
