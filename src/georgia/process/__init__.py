"""Process data beside the images: values of a reactor, events, laboratory results."""
