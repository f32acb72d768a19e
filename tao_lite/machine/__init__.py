"""What this machine and its neighbours give: cores, memory, processes, energy."""
