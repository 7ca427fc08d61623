// A server of the `ws` package: it echoes, with permessage-deflate and the subprotocol "chat", and closes when asked.

import { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: true,
  handleProtocols: (protocols) => protocols.has("chat") && "chat",
});
server.on("connection", (ws) => {
  ws.on("message", (data, isBinary) => {
    if (!isBinary && String(data) === "close me") {
      ws.close(4001, "as you wish");
    } else {
      ws.send(data, { binary: isBinary });
    }
  });
});
server.on("listening", () => console.log(`listening on ${server.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
