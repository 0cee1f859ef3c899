"""From a Keras functional net to an ONNX graph of plain operators.

``keras_layers`` says how one layer becomes nodes, ``walker`` follows the net, ``preprocessing``
writes the network input into the graph, ``weights16`` halves the file.
"""
