"""From a Keras functional net to an ONNX graph of plain operators.

``walker`` follows the net and ``keras_layers`` writes one layer as nodes; ``preprocessing``, ``symmetry``,
``class_map`` and ``ood_score`` write the network input, its views, ``cam`` and ``unknown_score``; ``builder``
collects the nodes.
"""
