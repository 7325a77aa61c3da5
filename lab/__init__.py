"""Stand-ins for what a closed network lacks: the engine, its plug-ins and the images."""
