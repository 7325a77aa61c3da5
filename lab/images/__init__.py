"""Images of the lab: stand-ins for the published ones where no container registry answers."""
