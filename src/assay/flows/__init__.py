"""The only place where the stages meet: run, release, serve, watch and respond, as short readable functions."""
