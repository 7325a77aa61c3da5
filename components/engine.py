"""The Docker Engine on which everything runs."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from components.settings import Settings


def engine(settings: Settings) -> docker.Provider:
    """The provider for the engine of `kopano:dockerHost` (else that of DOCKER_HOST, else this machine's), which pulls images with
    the log-ins of `kopano:registries`."""
    logins = [
        docker.ProviderRegistryAuthArgs(address=registry, username=login.user, password=pulumi.Output.secret(login.password))
        for registry, login in sorted(settings.registries.items())
    ]
    return docker.Provider("docker", host=settings.docker_host or None, registry_auth=logins or None)
