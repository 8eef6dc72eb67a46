collm_fuzz(message_fuzz LINK messages_sanitized messages CapnProto::capnp-rpc)
