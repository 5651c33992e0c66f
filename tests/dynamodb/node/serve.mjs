// DynamoDB's API on a free port of this machine, which is printed; tables are usable at once.
import dynalite from 'dynalite'

const server = dynalite({ createTableMs: 0, deleteTableMs: 0 })
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
