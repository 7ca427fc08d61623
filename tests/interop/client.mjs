// The official JavaScript client in Node.

import * as client from "socket.io-client";
import { scenes } from "./scenes.mjs";
import { play } from "./stage.mjs";

await play((name, stage) => scenes[name]({ ...stage, client }));
