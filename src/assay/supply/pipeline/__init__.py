"""Pipeline configuration: files read into settings, environment, commands, calls and manifests, and held against checks."""
