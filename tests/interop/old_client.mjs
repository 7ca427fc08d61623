// The official client of Socket.IO 2 in Node, and today's beside it.

import * as today from "socket.io-client";
import client from "socket.io-client-2";
import { scenes } from "./old_scenes.mjs";
import { play } from "./stage.mjs";

await play((name, stage) => scenes[name]({ ...stage, client, today }));
