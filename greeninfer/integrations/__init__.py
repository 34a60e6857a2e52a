"""What single frameworks need beside the middleware; import the module of the framework that you use."""
